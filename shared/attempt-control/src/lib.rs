//! Lets a running attempt steer drivers and the engine, and turns their errors into failures of the attempt.
