package ladder

// PostCopy is one pass, then the guest runs at the target and fetches the rest.
const PostCopy Rung = "postcopy"

var postCopy = Spec{
	Name: PostCopy, Live: true, After: Live, Needs: []Need{JobControl, SharedDisks}, PostCopy: true,
	Text: "lets a guest that does not converge run at the target before all of its memory is there: " +
		"it is lost if one of the two nodes dies before the rest has arrived.",
}
