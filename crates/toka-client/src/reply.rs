//! What every reply has in common.

use toka_proto::v1;
use tonic::Streaming;

/// The beginning of a reply.
pub(crate) trait Reply {
    /// Which node has given it, and of which cluster, if the message says so.
    fn header(&self) -> Option<&v1::ResponseHeader>;

    /// Whether it settles of which cluster the client is.
    fn settles(&self) -> bool {
        true
    }
}

/// The messages of a stream say it themselves.
impl<M> Reply for Streaming<M> {
    fn header(&self) -> Option<&v1::ResponseHeader> {
        None
    }
}

impl Reply for v1::GetStatusResponse {
    fn header(&self) -> Option<&v1::ResponseHeader> {
        self.header.as_ref()
    }

    /// A node without a leader may be one that nobody misses, at an address that a member of another cluster had.
    fn settles(&self) -> bool {
        self.leader_id.is_some()
    }
}

macro_rules! with_header {
    ($($message:ident),+) => {
        $(impl Reply for v1::$message {
            fn header(&self) -> Option<&v1::ResponseHeader> {
                self.header.as_ref()
            }
        })+
    };
}

with_header!(
    BatchGetResponse,
    ClassifyVectorResponse,
    CommitResponse,
    CommonAncestorsResponse,
    CreateGroupResponse,
    CreateTokenResponse,
    DeleteCursorResponse,
    DeleteGroupResponse,
    DeleteRoleResponse,
    DiscardParkedResponse,
    GetCursorResponse,
    GetGroupResponse,
    GetIntentResponse,
    GetResponse,
    LabelIntentResponse,
    ListCursorsResponse,
    ListGroupsResponse,
    ListHeadsResponse,
    ListIntentsResponse,
    ListOutstandingResponse,
    ListParkedResponse,
    ListResponse,
    ListRolesResponse,
    ListTokensResponse,
    PromoteNodeResponse,
    PullResponse,
    PutRoleResponse,
    RemoveNodeResponse,
    ReplaceNodeResponse,
    ReplayParkedResponse,
    RevokeTokenResponse,
    RotateTokenResponse,
    SaveCursorResponse,
    SearchResponse,
    SettleResponse,
    TransferLeadershipResponse,
    UpdateGroupResponse,
    WhoAmIResponse
);
