"""Importing what users have: files of many formats, containers and compressions become raw rows or counted reasons."""
