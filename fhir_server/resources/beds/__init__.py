"""Beds and stays: what a bed is, who may lie in it, and what follows when somebody comes or goes."""
