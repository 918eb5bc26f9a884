package trigger

import "slices"

// absence enters an event that begins one, or what should follow. Both count by the time they happened at:
// what happened at the same time as what began the absence, or later, ends it.
func (w *work) absence(in *Event) {
	s, e := w.spec, w.entry
	if in.Ends {
		switch {
		case e.openMS == 0 || e.openMS > in.TimeMS:
		case s.First && e.newestMS > in.TimeMS: // what began it anew was passed over, since the first counts
			e.openMS = e.newestMS
		default:
			e.openMS, e.template = 0, e.template[:0]
		}
		if e.firedMS != 0 && e.firedMS <= in.TimeMS {
			e.firedMS, w.cancel = 0, true
		}
		e.endMS = max(e.endMS, in.TimeMS)
		return
	}
	switch {
	case e.endMS != 0 && in.TimeMS <= e.endMS:
		return // what should follow did so already
	case e.openMS == 0, s.First && in.TimeMS < e.openMS, !s.First && in.TimeMS >= e.openMS:
		e.openMS = in.TimeMS
		if len(in.Template) <= maxTemplate {
			e.template = append(e.template[:0], in.Template...)
		}
	}
}

// dueMS is when the entry is to be looked at although no event arrives; 0: not.
func (w *work) dueMS() int64 {
	s, e := w.spec, w.entry
	switch {
	case s.Raise == Absent && e.openMS != 0:
		return max(1, min(maxTimeMS, e.openMS+s.WithinMS+s.LatenessMS))
	case s.Raise == End && len(e.buckets) > 0 && s.Window != TumblingCount:
		return max(1, min(maxTimeMS, s.endOf(&e.buckets[0])+s.LatenessMS+e.lagMS))
	default:
		return 0
	}
}

// plan sets the timer to when something is due. A timer that is set for an earlier time stays: it is cheaper
// to look once too often than to move it with each event.
func (w *work) plan() {
	due := w.dueMS()
	if e := w.entry; due == 0 || e.timerMS == 0 || due < e.timerMS {
		e.timerMS = due
	}
	if w.entry.timerMS != 0 {
		w.entry.expiryMS = max(w.entry.expiryMS, w.entry.timerMS)
	}
}

// fire is called when the timer is due.
func (w *work) fire(nowMS int64) {
	s, e := w.spec, w.entry
	e.timerMS = 0
	due := w.dueMS()
	if due != 0 && due <= nowMS {
		if s.Raise == Absent {
			w.raised = append(w.raised, Raised{Template: slices.Clone(e.template)})
			e.firedMS, e.openMS, e.template = e.openMS, 0, e.template[:0]
		} else {
			w.advance(nowMS - e.lagMS)
		}
	}
	w.plan()
}
