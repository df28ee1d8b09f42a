//! Tests of the crate as a whole, each named as a fact.

mod flips;
mod greedy;
mod guests;
mod leaving;
mod lending;
mod many;
mod net_suite;
mod node;
mod pair;
mod pair_facts;
mod racing;
mod raw;
mod speech;
mod strangers;
mod throttle;
mod tie;
mod vectors;
mod worked_example;
