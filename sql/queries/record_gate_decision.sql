select ml.record_gate_decision(%(version)s, %(promote)s, %(reasons)s::text[], %(details)s)
