"""The built-in places that emulators come from."""
