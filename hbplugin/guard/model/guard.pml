/*
 * The guard's protocol on two nodes, in whole ticks, for spin.
 *
 * A tick is a renewal. In each tick a fault may strike (NF of them at most), late writes land, the clocks go on (a
 * holder's may lose DRIFT ticks within one lease, a reader's may gain as many), and both nodes act, in either order:
 * read the other's slot and claim, stop when the lease is too old or a bound claim wins, kill, renew on the disk and
 * over the link, claim, fence, start the guest.
 *
 * TK self-kill, KL kill, TF expiry, in ticks: the test passes them, computed by package timing.
 *
 * Holds: no two copies of the guest can write (OK), and never do both nodes surrender to a claim (ONE).
 */
#ifndef REVOKE
#define REVOKE 1	/* access to the disks is revoked before the guest is started */
#endif
#ifndef LINKPATH
#define LINKPATH 1	/* a renewal counts when the other node acknowledges it */
#endif
#ifndef BINDING
#define BINDING 1	/* both claims name each other before one of them wins */
#endif
#ifndef READNOW
#define READNOW 1	/* expiry needs a good read at the end of the count */
#endif

byte age[2], seen[2], slow[2], fast[2], kl[2], reach[2];
bool on[2], held[2], acc[2], surr[2], news[2], infl[2], stor[2], hung[2], dead[2], gone[2], yield[2];
bool link;
byte faults;

/* a claim: its number, the number of the claim it answers, frozen reach; on disk, and as the other node last read it */
byte number[2], sp[2], an[2], fz[2], rsp[2], ran[2], rfz[2];

#define live(i)	(!hung[i] && !dead[i])
#define act(i)	(on[i] && acc[i] && live(i))
#define OK	assert(!(act(0) && act(1)))
#define ONE	assert(!(yield[0] && yield[1]))
#define wins(i)	(rfz[i] > fz[i] || (rfz[i] == fz[i] && i == 1))	/* the other's claim beats the one of i */
#define lost(i)	(!link || !live(1-i))	/* the manager of i does not see the other as a member */

inline clock(i) {
	if	/* the holder's clock is slow: it takes its lease for younger than it is */
	:: age[i] < TK -> age[i]++
	:: age[i] == TK
	:: slow[i] < DRIFT -> slow[i]++
	fi;
	if	/* the reader's clock is fast: it takes the other's lease for older than it is */
	:: seen[i] < TF -> seen[i]++
	:: seen[i] == TF
	:: fast[i] < DRIFT -> fast[i]++; seen[i] = (seen[i]+2 >= TF -> TF : seen[i]+2)
	fi
}

inline claims(i) {
	if
	:: held[i] && stor[i] ->
		if	/* read the other's claim, or miss it */
		:: rsp[i] = sp[1-i]; ran[i] = an[1-i]; rfz[i] = fz[1-i]
		:: true
		fi;
		if	/* surrender to it */
		:: sp[i] != 0 && rsp[i] != 0 && wins(i) && (!BINDING || (an[i] == rsp[i] && ran[i] == sp[i])) ->
			held[i] = 0; yield[i] = 1; kl[i] = KL; sp[i] = 0; an[i] = 0; ONE
		:: else -> skip
		fi;
		if
		:: held[i] && (lost(i) || rsp[i] != 0) ->
			if	/* make one */
			:: sp[i] == 0 || (rsp[i] != 0 && an[i] != 0 && an[i] != rsp[i]) ->
				number[i] = (number[i] % 7) + 1; sp[i] = number[i]; an[i] = 0; fz[i] = reach[i]
			:: else -> skip
			fi;
			if	/* bind it */
			:: rsp[i] != 0 && an[i] == 0 && (ran[i] == 0 || ran[i] == sp[i]) -> an[i] = rsp[i]
			:: else -> skip
			fi
		:: held[i] && !lost(i) && rsp[i] == 0 -> sp[i] = 0; an[i] = 0
		:: else -> skip
		fi
	:: else -> skip
	fi
}

inline guard(i) {
	if
	:: live(i) ->
		if	/* the own lease is too old */
		:: held[i] && age[i] >= TK -> held[i] = 0; kl[i] = KL
		:: else -> skip
		fi;
		if	/* the kill takes up to KL ticks */
		:: !held[i] && on[i] && kl[i] > 0 -> if :: kl[i]-- :: on[i] = 0 fi
		:: !held[i] && on[i] && kl[i] == 0 -> on[i] = 0
		:: else -> skip
		fi;
		if
		:: !held[i] && !on[i] && stor[i] -> surr[i] = 1
		:: else -> skip
		fi;
		if	/* renew: it lands, it is on its way, or it fails */
		:: held[i] && stor[i] && !infl[i] ->
			if
			:: age[i] = 0; slow[i] = 0; news[i] = 1
			:: infl[i] = 1
			:: true
			fi
		:: else -> skip
		fi;
#if LINKPATH
		if	/* the other node acknowledges, unless it has taken the lease as expired */
		:: held[i] && link && live(1-i) && !gone[i] ->
			if :: age[i] = 0; slow[i] = 0; seen[1-i] = 0; fast[1-i] = 0 :: true fi
		:: else -> skip
		fi;
#endif
		if	/* read the other's slot */
		:: stor[i] && news[1-i] -> if :: news[1-i] = 0; seen[i] = 0; fast[i] = 0 :: true fi
		:: else -> skip
		fi;
		claims(i);
		if	/* fence, then start */
		:: held[i] && stor[i] && lost(i) && !on[i] && age[i] < TK &&
			(surr[1-i] || (seen[i] >= TF && (!READNOW || !news[1-i]))) ->
			if
			:: !surr[1-i] -> gone[1-i] = 1; acc[1-i] = !REVOKE
			:: else -> skip
			fi;
			on[i] = 1
		:: else -> skip
		fi
	:: else -> skip
	fi;
	OK
}

init {
	atomic {
		link = 1; stor[0] = 1; stor[1] = 1; held[0] = 1; held[1] = 1; acc[0] = 1; acc[1] = 1;
		reach[0] = 1; reach[1] = 1; on[0] = 1
	};
	do
	:: atomic {
		if	/* a fault strikes, or one ends */
		:: faults < NF ->
			faults++;
			if
			:: link = 0
			:: stor[0] = 0 :: stor[1] = 0
			:: dead[0] = 1 :: dead[1] = 1
			:: reach[0] = 0 :: reach[1] = 0
#ifndef NOHANG
			:: hung[0] = 1 :: hung[1] = 1
#endif
			fi
		:: hung[0] -> hung[0] = 0; OK
		:: hung[1] -> hung[1] = 0; OK
		:: !stor[0] -> stor[0] = 1
		:: !stor[1] -> stor[1] = 1
		:: !link -> link = 1
		:: reach[0] == 0 -> reach[0] = 1
		:: reach[1] == 0 -> reach[1] = 1
		:: true
		fi;
		if :: infl[0] -> infl[0] = 0; news[0] = 1 :: true fi;	/* a late write lands */
		if :: infl[1] -> infl[1] = 0; news[1] = 1 :: true fi;
		clock(0); clock(1);
		if :: true -> guard(0); guard(1) :: true -> guard(1); guard(0) fi
	}
	od
}
