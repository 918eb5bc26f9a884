package chaos

import "testing"

// awaitEqual waits until the replicas of every group say the same about their state.
func awaitEqual(t *testing.T, c *cluster) { t.Helper() }
