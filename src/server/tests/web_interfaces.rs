//! Requests of web interfaces for administrators, in cases where an answer of the broker once made them show an error page.

use super::*;
use crate::metadata::image::BROKER_RESOURCE;
use crate::wire::message::create_acls::{AclCreation, CreateAclsRequest, CreateAclsResponse};
use crate::wire::message::delete_acls::{DeleteAclsFilter, DeleteAclsRequest, DeleteAclsResponse};
use crate::wire::message::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};
use crate::wire::message::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};

async fn asked<Q: Request>(client: &mut Client, version: i16, request: &Q) -> Q::Response {
    client.send(&frame(1, version, request)).await;
    let (_, mut body) = client.answer().await;
    if Q::is_flexible(version) {
        assert_eq!(body.u8().unwrap(), 0, "tagged fields of the header");
    }
    Q::Response::read(&mut body, version).unwrap()
}

#[tokio::test]
async fn who_asks_for_acls_is_told_that_there_is_no_authorizer() {
    let node = Node::start(&[]).await;
    let mut client = node.connect().await;
    let disabled = ErrorCode::SecurityDisabled.code();
    for version in 0..=3 {
        let all: DescribeAclsResponse =
            asked(&mut client, version, &DescribeAclsRequest::default()).await;
        assert_eq!((all.error_code, all.resources.len()), (disabled, 0));

        let creations = vec![AclCreation::default(); 2];
        let made: CreateAclsResponse =
            asked(&mut client, version, &CreateAclsRequest { creations }).await;
        let errors: Vec<_> = made.results.iter().map(|one| one.error_code).collect();
        assert_eq!(errors, [disabled; 2]);

        let filters = vec![DeleteAclsFilter::default(); 2];
        let gone: DeleteAclsResponse =
            asked(&mut client, version, &DeleteAclsRequest { filters }).await;
        let errors: Vec<_> = gone
            .filter_results
            .iter()
            .map(|one| one.error_code)
            .collect();
        assert_eq!(errors, [disabled; 2]);
    }
}

#[tokio::test]
async fn a_broker_shows_empty_defaults_and_no_rates_that_nobody_set() {
    let node = Node::start(&[]).await;
    let mut client = node.connect().await;
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: BROKER_RESOURCE,
            resource_name: "1".into(),
            configuration_keys: None,
        }],
        include_synonyms: true,
        ..Default::default()
    };
    let answer: DescribeConfigsResponse = asked(&mut client, 4, &request).await;
    let configs = &answer.results[0].configs;
    let named = |name: &str| configs.iter().find(|config| config.name == name);
    let synonyms = &named("ssl.cipher.suites").unwrap().synonyms;
    assert_eq!(synonyms[0].value.as_deref(), Some(""));
    assert!(named("leader.replication.throttled.rate").is_none());
}
