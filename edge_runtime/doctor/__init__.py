"""`edge_runtime doctor`: is this machine fit to fly, and if not, what to do about it.

A check is a function of a `Machine` that returns one `Finding`. Libraries and drivers that may
crash are tried in a process of their own, so that the doctor outlives its patients: nothing here
imports cv2, an engine or TensorRT before the check that needs it.
"""
