//! A Pod's address, ports, and files about names: plan is pure, apply acts.
