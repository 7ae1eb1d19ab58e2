"""From a lock to a plan and to LLB. Pure."""
