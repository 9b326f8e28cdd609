select set_config('ncf.shop_timezone', %(timezone)s, true);

select ml.begin_live_period(%(number)s, 'flip', now())
