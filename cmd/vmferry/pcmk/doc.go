// Package pcmk reads two documents of Pacemaker's: its configuration, as
// "cibadmin --query --scope=configuration" prints it, and where its resources
// are, as "crm_mon --output-as=xml" prints it.
//
// It is for questions that an operator's command has and the daemon has not:
// is fencing configured, may this resource be moved live, on which node is it
// now. It runs nothing. What the daemon needs is in hbplugin/pacemaker.
package pcmk
