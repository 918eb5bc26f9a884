package apitest

import "testing"

// members exercises what is done about the nodes of a cluster. A node that stands alone refuses it.
func (s *suite) members(t *testing.T) {
	s.do(t, call{op: "listMembers", want: 200})
	_, body := s.do(t, call{op: "getCluster", want: 200})
	var cluster struct {
		Node string `json:"node"`
	}
	s.decode(t, body, &cluster)
	if cluster.Node == "" {
		s.alone = true
		for _, c := range []call{
			{op: "joinMember", media: jsonMedia, body: `{"id":"n9","addr":"127.0.0.1:7009"}`}, {op: "drainMember", path: "/v1/cluster/members/n9/drain"},
			{op: "removeMember", path: "/v1/cluster/members/n9"}, {op: "transferLead", media: jsonMedia, body: `{"from":"n9"}`}, {op: "getBalance"}, {op: "rebalance"},
		} {
			c.want, c.code = 409, "CONFLICT"
			s.do(t, c)
		}
		return
	}
	s.do(t, call{op: "joinMember", media: jsonMedia, body: `{"id":"n9","addr":"127.0.0.1:7009","zone":"east"}`, want: 200})
	s.do(t, call{op: "joinMember", media: jsonMedia, body: `{"id":"N_9","addr":"127.0.0.1:7009"}`, invalid: true, want: 422, code: "INVALID"})
	s.do(t, call{op: "drainMember", path: "/v1/cluster/members/n1/drain", want: 200})
	s.do(t, call{op: "drainMember", path: "/v1/cluster/members/nobody/drain", want: 404, code: "NOT_FOUND"})
	s.do(t, call{op: "transferLead", media: jsonMedia, body: `{"from":"n1"}`, want: 200})
	s.do(t, call{op: "transferLead", media: jsonMedia, body: `{}`, want: 422, code: "INVALID"})
	s.do(t, call{op: "removeMember", path: "/v1/cluster/members/n1", want: 204})
	s.do(t, call{op: "getBalance", want: 200})
	s.do(t, call{op: "rebalance", want: 200})
}
