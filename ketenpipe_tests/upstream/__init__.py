"""A stand-in for the official sources: a real HTTP server on loopback that can misbehave on command."""
