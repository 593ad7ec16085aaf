//! rtl-model
