"""The stages, in order: data, skeleton, overfit, regularise, tune, squeeze."""
