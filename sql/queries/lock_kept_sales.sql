-- If two add sales up, the second waits.
lock table retail.week_sold, retail.day_sold in share row exclusive mode
