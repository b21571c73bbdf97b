//! Tokens that expire, are renewed, or are revoked while their clients are connected.
