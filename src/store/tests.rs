//! What needs a look inside the store.
