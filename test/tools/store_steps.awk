# store_steps.awk FILE...: the steps of sql/store as rows of _penny.store_step.
# "--! version N" sets the version, "--# kind name" opens a step; what follows
# up to the next one is its body.  Comment lines are left out.

function finish() {
	sub(/\n+$/, "", body)
	if (kind != "")
		printf "(%d, %d, '%s', '%s', $penny_step$%s$penny_step$)", number, version, kind, name, body
	body = ""
}

BEGIN {
	print "\n-- The steps of sql/store."
	print "DELETE FROM _penny.store_step;\nINSERT INTO _penny.store_step (number, version, kind, name, body) VALUES"
}
/^--! version / { version = $3; next }
/^--# / {
	if (kind != "") { finish(); printf ",\n" }
	number++
	kind = $2
	name = $0
	sub(/^--# [^ ]+ /, "", name)
	next
}
/^--/ { next }
kind != "" { body = body $0 "\n" }
END { finish(); print ";" }
