//! A Pod and its friends once parsed, defaulted and valid. Pure: no IO, no clock.
