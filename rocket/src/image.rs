//! Images: what they are called, where they come from, who signed them, where they are kept.
