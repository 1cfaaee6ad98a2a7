"""Packages that wait for signatures made elsewhere: what is asked, what is pending."""
