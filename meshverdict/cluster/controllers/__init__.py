"""Pure controllers: from the objects that are there to the changes that are due.

A controller is a function ``plan(view, object, now) -> list[Change]``; nothing in this room
writes, waits or opens anything. :mod:`meshverdict.cluster.reconcile` runs the plans.
:data:`.registry.controllers` is the table of all of them.
"""
