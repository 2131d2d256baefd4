//! Properties of proofs.
