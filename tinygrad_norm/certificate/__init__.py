"""Gradient certificates: whether a layer or op can be trusted, and whether the checks that say so can."""

from tinygrad_norm.certificate.certification import Certificate, Check, Mutant, certify

__all__ = ["Certificate", "Check", "Mutant", "certify"]
