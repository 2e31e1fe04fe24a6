Every command is also an ad-hoc form (XEP-0050), and administrators have forms of their own (XEP-0133).
