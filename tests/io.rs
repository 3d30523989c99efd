//! The io layer against the emulator over real HTTP: what is written is what is stored and read,
//! within the budget, whatever fails.

#[path = "io/rig.rs"]
mod rig;

#[path = "io/copying.rs"]
mod copying;
#[path = "io/damage.rs"]
mod damage;
#[path = "io/halting.rs"]
mod halting;
#[path = "io/holes.rs"]
mod holes;
#[path = "io/keeping.rs"]
mod keeping;
#[path = "io/large.rs"]
mod large;
#[path = "io/long_copies.rs"]
mod long_copies;
#[path = "io/many.rs"]
mod many;
#[path = "io/model.rs"]
mod model;
#[path = "io/reading.rs"]
mod reading;
#[path = "io/storing.rs"]
mod storing;
