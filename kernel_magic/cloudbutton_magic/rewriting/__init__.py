"""Turns a verdict into code: the loop's body for a worker, its bookkeeping for the kernel.

* `loop_functions`    the two functions made from a loop
* `cell_rewrite`      the cell with a hook in its loops; the same as readable Python, for a dry run
* `called_functions`  functions that the cell calls once, recompiled; their variables as a namespace
* `worker_side`       what runs around the body in a worker; results that are the kernel's own objects
"""
