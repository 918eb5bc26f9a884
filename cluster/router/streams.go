package router

// LeaderOf names the node that leads a data group as far as this one knows; "" if none is known.
func (r *Router) LeaderOf(group int) string { return r.groups()[group].describe().Leader }
