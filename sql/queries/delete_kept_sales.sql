delete from retail.week_sold;

delete from retail.day_sold
