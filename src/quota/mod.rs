//! Client quotas: how much users, client ids and addresses may cause, and for how long a client that has caused more must wait.
//! Kafka's `ClientQuotaManager`, `ClientRequestQuotaManager`, `ControllerMutationQuotaManager` and `ConnectionQuotas`.
//!
//! The quotas themselves are records of the metadata (`metadata/controller/quotas.rs`). A client for which no quota is set
//! costs one atomic load per request.

pub mod buckets;
pub mod limits;
pub mod quotas;
pub mod rate;
