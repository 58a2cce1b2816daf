"""Docker Hub, whose registry is on another host than its name says, and which can search."""
