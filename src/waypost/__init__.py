"""Waypost gives every mail address several ways to reach a person.

It attaches to an existing Postfix: a milter rewrites recipients that have a route, and a transport
walks each route's legs side by side and, along a leg, one destination after another.
"""

__version__ = "0.1.0"
