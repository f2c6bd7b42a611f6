"""Networks and training loops that methods, attacks and utilities share.

Modules here import torch at the top; plugins import them inside the functions that use them, so that
listing plugins stays quick.
"""
