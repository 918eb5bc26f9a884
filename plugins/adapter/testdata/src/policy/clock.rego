package telco

late if time.now_ns() > 5

greeting := sprintf("%d", [input.subject.tenure])
