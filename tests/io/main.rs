//! The io layer against the emulator over real HTTP: what is written is what is stored and read,
//! within the budget, whatever fails.

mod rig;

mod copying;
mod damage;
mod halting;
mod holes;
mod keeping;
mod large;
mod long_copies;
mod many;
mod model;
mod random;
mod reading;
mod storing;
mod streams;
