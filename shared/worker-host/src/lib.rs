//! What the three workers share: their configuration, their composition and the directories they may touch.
