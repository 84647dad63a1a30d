//! pure: names of client quotas, and of the kinds of entities that have them. Kafka's `QuotaConfig` and `ClientQuotaEntity`.

/// Kinds of entities.
pub const USER: &str = "user";
pub const CLIENT_ID: &str = "client-id";
pub const IP: &str = "ip";

/// Quotas of users and client ids.
pub const PRODUCER_BYTE_RATE: &str = "producer_byte_rate";
pub const CONSUMER_BYTE_RATE: &str = "consumer_byte_rate";
pub const REQUEST_PERCENTAGE: &str = "request_percentage";
pub const CONTROLLER_MUTATION_RATE: &str = "controller_mutation_rate";
/// Quota of addresses.
pub const CONNECTION_CREATION_RATE: &str = "connection_creation_rate";
