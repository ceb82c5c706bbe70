def process(doc, results):
    (ll,) = results
    w = len(doc["page"].split()); b = len(doc["page"].encode())
    return {"word_perplexity": (ll, w), "byte_perplexity": (ll, b), "bits_per_byte": (ll, b)}
