//! Journeys across processes: containers, faults, interoperability, and the shape of the code itself.
