"""What starts runs and watches over them: dropped files, schedules, changed inputs; failed runs; the whole workflow.

What starts a run is off until somebody switches it on; the two that look at runs gone wrong are on from the start. What
a run does is in ``assets``.
"""
