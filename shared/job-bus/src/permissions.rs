//! Who may publish and subscribe what, per service.
