//! Tests of starting a successor.
