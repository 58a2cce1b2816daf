"""Devices that Ansible reaches."""
