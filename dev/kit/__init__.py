"""What ``dev/engines`` is made of: real engines for development and tests.

Only the standard library is used, so that it runs before there is a virtual
environment.
"""
