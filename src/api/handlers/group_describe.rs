//! Common part of ConsumerGroupDescribe and ShareGroupDescribe.

/// Describes each group of a request and builds the response. `$topics` are the names of topics in the description of a member:
/// a client that may not describe all of them gets an error for the group, because it must not learn of a topic here.
macro_rules! describe_each {
    (
        $context:ident, $request:ident => $response:ident of $described:ident,
        |$groups:ident, $id:ident| $ask:expr,
        |$member:ident| $topics:expr
    ) => {
        $crate::api::context::Reply::later(async move {
            use $crate::security::acl::{Operation, ResourceType};

            let $groups = &$context.services.groups;
            let named = $crate::api::answer::distinct($request.group_ids);
            let mut described = Vec::with_capacity(named.len());
            let rights = $context.rights();
            for id in named {
                let refused = |error: $crate::wire::error_code::ErrorCode| $described {
                    error_code: error.code(),
                    group_id: id.clone(),
                    ..Default::default()
                };
                let may = rights.require(Operation::Describe, ResourceType::Group, &id);
                if let Err(error) = may {
                    described.push(refused(error));
                    continue;
                }
                let $id = id.clone();
                let mut group = $ask.await;
                let mut topics = group.members.iter().flat_map(|$member| $topics);
                let known = topics.try_for_each(|topic| {
                    rights.require(Operation::Describe, ResourceType::Topic, topic)
                });
                if let Err(error) = known {
                    described.push(refused(error));
                    continue;
                }
                if $request.include_authorized_operations && group.error_code == 0 {
                    group.authorized_operations =
                        rights.operations(ResourceType::Group, &group.group_id);
                }
                described.push(group);
            }
            $response {
                groups: described,
                ..Default::default()
            }
        })
    };
}

pub(super) use describe_each;
