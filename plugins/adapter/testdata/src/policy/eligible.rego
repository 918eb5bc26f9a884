package telco

# A family plan for households that can pay for it, of a term that is sold.
default eligible := false

eligible if {
	input.subject.partner == true
	input.subject.monthlyCharges > 15
	not input.subject.plan in {"P0", "P1"}
	not input.candidate.term in data.withdrawn
}

# How well the action fits, undefined without charges.
fit := min([1, input.subject.monthlyCharges / 100])

text := "neither a boolean nor a number"
