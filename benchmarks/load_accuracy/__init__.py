"""How true are the latencies that load generators report of a server whose stalls are known?"""
