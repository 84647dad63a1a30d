//! Settings. Each is declared once, in one of four tables; the broker's are read from Kafka's own `server.properties`.

pub mod authorizer;
pub mod broker;
pub mod broker_table;
pub mod client_metrics;
pub mod client_quotas;
pub mod controllers;
pub mod group;
pub mod group_table;
pub mod jaas;
pub mod listener;
pub mod parse;
pub mod sasl;
pub mod setting;
pub mod tls;
pub mod topic;
pub mod topic_table;
